"""Text: the tokenizer and the chat templates."""
