import sys
sys.path.insert(0,'/work/main')
from rich.console import Console
import pytest
def test_x(make_rows, tmp_path):
    from sg4v_jax.data import show
    r = make_rows()
    for v in show.write_rows(r, start=0, count=1, out='/tmp/dt/out'):
        Console(width=120).print(show.as_panel(v))
    print(open('/tmp/dt/out/row_0000.txt').read())
