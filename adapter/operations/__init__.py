"""What commands do, and an admin page could do too: replay, resolve and reissue. Does not print."""
