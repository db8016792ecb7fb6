"""The rights that docs/operations/rights.md lists, tried on a broker that checks them.

`make acls` takes each right away in turn, `test_acls.py` some of them.
"""
