"""Where the course happens: its server, its database, its notebooks, and the weather in them."""
