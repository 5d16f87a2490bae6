"""The two stores: the catalog (SQLite, the truth) and the shelf (LanceDB, derived from it)."""
