"""The hub: admits members, routes sealed and blinded messages between them, and learns nothing from them."""
