"""The line to keys: echo canceller, keyboard decoder, input queue, line editor. Knows no model, no tape."""
