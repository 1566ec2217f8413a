"""The bridge to mentions on Mastodon, Bluesky and X: pure rules, three networks, one queue. It knows no machine."""
