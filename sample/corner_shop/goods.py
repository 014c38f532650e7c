"""What the shop sells and at what price, what a pound costs, and who its customers say they are."""

import numpy as np
import pandas as pd

from sample.corner_shop import trading
from sample.draws import generator

N_PRODUCTS = 600
CURRENCIES = {"EUR": 0.855, "USD": 0.785}  # pounds for one unit at the start; nothing is sold in dollars
_EUR_PRICE = 1.18  # the euro list is this much above the pound list
_WORDS = (
    ("WHITE", "RED", "VINTAGE", "ANTIQUE SILVER", "PINK", "SET/6", "BOX OF 24", "WOODEN", "RETROSPOT", "CAFÉ", "MINI", "LARGE"),
    ("HEART", "POLKADOT", "PAISLEY", "REGENCY", "POPPY'S", "SKULL", '"HOME"', "STAR", "BIRD", "DOLLY GIRL"),
    ("T-LIGHT HOLDER", "LUNCH BAG", "CAKE CASES", "BUNTING", "DOORMAT", "MUG, BLUE", "JUMBO BAG", "CHALKBOARD", "LANTERN",
     "TEACUP AND SAUCER", "ALARM CLOCK", "GIFT WRAP"),
)  # fmt: skip
_CATEGORIES = ("Kitchen", "Home Decor", "Bags", "Party", "Stationery", "Garden", "Toys & Games")
_FIRST = ("Amelia", "Oliver", "Siân", "Mohammed", "Grace", "Rhys", "Niamh", "Jack", "Priya", "Zoë", "Angus", "Chloe")
_LAST = ("Smith", "O'Brien", "Patel", "Jones-Hughes", "MacLeod", "Khan", "Evans", "Taylor", "de Souza", "Wood", "Nowak")
# Numbers that Ofcom keeps free for drama: they are valid, and nobody's.
_PHONES = ("20 7946 0", *(f"{area} 496 0" for area in (113, 114, 115, 116, 117, 118, 121, 131, 141, 151, 161)))


def stock(seed: int) -> pd.DataFrame:
    """The products: StockCode, Description, Category (both missing or empty for some), ListPrice in pounds."""
    rng = generator(seed, "shop", "stock")
    digits = rng.permutation(np.arange(10_002, 90_215))[:N_PRODUCTS]
    suffix = rng.choice(["", "A", "B", "c", "BL"], N_PRODUCTS, p=[0.7, 0.12, 0.08, 0.05, 0.05])
    names = rng.permutation([" ".join(words) for words in np.array(np.meshgrid(*_WORDS)).T.reshape(-1, 3).tolist()])
    price = np.exp(rng.normal(0.75, 0.9, N_PRODUCTS))
    price = np.where(rng.random(N_PRODUCTS) < 0.95, np.maximum(np.round(price * 20) / 20, 0.1), np.round(price / 12, 3))
    frame = pd.DataFrame({
        "StockCode": [f"{number}{letters}" for number, letters in zip(digits, suffix, strict=True)],
        "Description": names[:N_PRODUCTS].astype(object),
        "Category": rng.choice(_CATEGORIES, N_PRODUCTS).astype(object),
        "ListPrice": np.maximum(price, 0.001),
    })  # fmt: skip
    frame.loc[rng.random(N_PRODUCTS) < 0.08, "Category"] = None
    frame.loc[rng.random(N_PRODUCTS) < 0.02, "Description"] = ""
    frame.loc[rng.random(N_PRODUCTS) < 0.01, "Description"] = None
    frame.loc[40, ["Description", "ListPrice"]] = ["PADS TO MATCH ALL CUSHIONS", 0.001]  # as in the real book
    return frame


def draw_products(rng: np.random.Generator, n: int) -> np.ndarray:
    """Positions in the stock, by Zipf's law."""
    shares = 1 / np.arange(5, N_PRODUCTS + 5)
    return rng.choice(N_PRODUCTS, n, p=shares / shares.sum())


def draw_quantities(rng: np.random.Generator, n: int) -> np.ndarray:
    """Pieces per line: packs, and now and then a pallet."""
    packs = rng.choice(
        [1, 2, 3, 4, 6, 8, 10, 12, 24, 48], n, p=[0.25, 0.15, 0.08, 0.09, 0.14, 0.04, 0.05, 0.12, 0.06, 0.02]
    )
    pallets = np.minimum(100 * np.exp(rng.normal(0, 1.2, n)), 20_000).astype(int) + 1
    return np.where(rng.random(n) < 0.01, pallets, packs)


def unit_prices(list_price: np.ndarray, quantity: np.ndarray, is_euro: np.ndarray) -> np.ndarray:
    """The price on the line, in its invoice's currency, to a tenth of a penny; a quarter off from 48 pieces on."""
    price = list_price * np.where(quantity >= 48, 0.75, 1.0) * np.where(is_euro, _EUR_PRICE, 1.0)
    return np.maximum(np.round(price, 3), 0.001)


def exchange_rates(seed: int, days: int) -> pd.DataFrame:
    """Pounds for one unit of a currency: Day, Currency, Rate (six decimals), each day, closed or not."""
    parts = []
    for currency, start in CURRENCIES.items():
        steps = generator(seed, "shop", "rate", currency).normal(0, 0.003, days)
        rate = np.round(start * np.exp(np.cumsum(steps) * 0.6), 6)
        parts.append(pd.DataFrame({"day": range(days), "Currency": currency, "Rate": rate}))
    frame = pd.concat(parts).sort_values(["day", "Currency"], ignore_index=True)
    frame.insert(0, "Day", trading.dates_of(frame["day"]))
    return frame


def clients(seed: int, customer_id: np.ndarray, opened: np.ndarray) -> pd.DataFrame:
    """Name, e-mail and British phone per customer, some missing; OpenedOn is the day of the first invoice."""
    rng, n = generator(seed, "shop", "clients"), len(customer_id)
    first, last = rng.choice(_FIRST, n), rng.choice(_LAST, n)
    digits = [
        f"{area}{number:03d}" for area, number in zip(rng.choice(_PHONES, n), rng.integers(0, 1_000, n), strict=True)
    ]
    frame = pd.DataFrame({
        "CustomerID": customer_id,
        "Name": pd.Series(first + np.array(" ") + last, dtype=object),
        "Email": [f"{a[0].lower()}.{c}@example.{end}" for a, c, end in
                  zip(first, customer_id, rng.choice(["com", "net", "org"], n), strict=True)],
        "Phone": [f"+44 {d}" if p else f"0{d}" for d, p in zip(digits, rng.random(n) < 0.4, strict=True)],
        "OpenedOn": trading.dates_of(opened),
        "day": opened,
    })  # fmt: skip
    frame.loc[rng.random(n) < 0.15, "Email"] = None
    frame.loc[rng.random(n) < 0.25, "Phone"] = None
    return frame
