"""From files of interactions to validated columnar blocks: `options`, `files`, `read`; and item catalogues."""
