"""What the company sells and advertises, from the seed alone: products with prices, campaigns per channel."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from sample.draws import integers, make_ids, uniforms
from sample.parameters import CATEGORIES, CHANNELS

N_PRODUCTS = 240
N_BRANDS = 24
CAMPAIGN_DAYS = 45
SLOTS = 3  # campaigns that a channel runs at a time
_NOUNS = {
    "phones": "phone", "computers": "laptop", "clothing": "jacket", "shoes": "sneaker",
    "beauty": "serum", "groceries": "tea", "home": "lamp", "toys": "puzzle",
}  # fmt: skip


@dataclass(frozen=True)
class Products:
    """All products in order of price, so that a price can be looked for."""

    product_id: np.ndarray
    name: np.ndarray
    category: np.ndarray  # code of CATEGORIES
    brand: np.ndarray
    price: np.ndarray  # cents


@lru_cache(maxsize=4)
def products(seed: int) -> Products:
    """The product range: prices are log-normal around 85 yuan."""
    index = np.arange(N_PRODUCTS)
    price = np.round(85 * np.exp(0.8 * ndtri(uniforms(seed, "price", index)))).astype(np.int64) * 100 - 10
    order = np.argsort(price, kind="stable")
    index, price = index[order], np.maximum(price[order], 490)
    category = integers(seed, "category", index, len(CATEGORIES))
    brand = np.array([f"Brand {b + 1:02d}" for b in integers(seed, "brand", index, N_BRANDS)])
    nouns = [_NOUNS[CATEGORIES[c]] for c in category]
    models = integers(seed, "model", index, 900) + 100
    name = np.array([f"{b} {n} {m}" for b, n, m in zip(brand, nouns, models, strict=True)])
    return Products(make_ids("p", seed, "product", index), name, category, brand, price)


@dataclass(frozen=True)
class Campaigns:
    """Campaigns, one entry each; `first_day` … `last_day` are days of the history, both included."""

    campaign_id: np.ndarray
    channel: np.ndarray
    category: np.ndarray
    first_day: np.ndarray
    last_day: np.ndarray


@lru_cache(maxsize=512)
def campaigns(seed: int, day: int) -> Campaigns:
    """All campaigns that have started by the end of `day`: every slot runs one after another, slots change in turn."""
    n_slots = len(CHANNELS) * SLOTS
    shift = integers(seed, "campaign_shift", np.arange(n_slots), CAMPAIGN_DAYS)
    rounds = (day + shift) // CAMPAIGN_DAYS + 1
    slot = np.repeat(np.arange(n_slots), rounds)
    nth = np.concatenate([np.arange(r) for r in rounds])
    first = nth * CAMPAIGN_DAYS - shift[slot]
    number = nth * n_slots + slot
    category = integers(seed, "campaign_category", number, len(CATEGORIES))
    ids = make_ids("k", seed, "campaign", number)
    return Campaigns(ids, slot // SLOTS, category, first, first + CAMPAIGN_DAYS - 1)
