"""A second generated company: a small British wholesaler's order book, in other tables, names, money and time than ours.

It has invoices and nothing else: no site, no advertising, no memberships. What is awkward in it is awkward in real order
books of this kind (the UCI set "Online Retail" is the model): guests, cancellation invoices that name no order, postage
and bad debt among the goods, prices of a tenth of a penny, two currencies, local times without a zone.
"""
