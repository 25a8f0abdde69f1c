"""Video files to pixels: decode, choose frames, lay them in a grid, cut the grid into tiles."""
