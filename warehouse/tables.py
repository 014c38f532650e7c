"""The names of layers and tables, each written once; a drift test holds dbt, suites and models.yml to them."""

RAW, QUARANTINE, STAGING, INPUT, CLEANED = "raw", "quarantine", "staging", "input", "cleaned"
FEATURES, LABELS, PREDICTIONS, MARTS, OPS = "features", "labels", "predictions", "marts", "ops"
LAYERS = (RAW, QUARANTINE, STAGING, INPUT, CLEANED, FEATURES, LABELS, PREDICTIONS, MARTS, OPS)

CLEANED_CUSTOMERS = "cleaned.customers"
CLEANED_CUSTOMER_ATTRIBUTES = "cleaned.customer_attributes"
CLEANED_PRODUCTS = "cleaned.products"
CLEANED_CAMPAIGNS = "cleaned.campaigns"
CLEANED_ORDERS = "cleaned.orders"
CLEANED_ORDER_ITEMS = "cleaned.order_items"
CLEANED_REVERSALS = "cleaned.reversals"
CLEANED_CHANNEL_SPEND = "cleaned.channel_spend"
CLEANED_EVENTS = "cleaned.events"
CLEANED_IMPRESSIONS = "cleaned.impressions"
CLEANED_CLICKS = "cleaned.clicks"
CLEANED_DROPPED_ROWS = "cleaned.dropped_rows"

FEATURES_CUSTOMER_ACTIVITY = "features.customer_activity"
FEATURES_CUSTOMER_DAY = "features.customer_day"
FEATURES_SALES_DAY = "features.sales_day"
FEATURES_IMPRESSION = "features.impression"
FEATURES_CHANNEL_DAY = "features.channel_day"

LABELS_IMPRESSION_CLICK = "labels.impression_click"
LABELS_CUSTOMER_LIFETIME = "labels.customer_lifetime"
LABELS_CHANNEL_RETURN = "labels.channel_return"

PREDICTIONS_SEGMENTATION = "predictions.segmentation"
PREDICTIONS_CTR = "predictions.ctr"
PREDICTIONS_CHURN = "predictions.churn"
PREDICTIONS_BUDGET = "predictions.budget"

MARTS_CUSTOMER_PROFILE = "marts.customer_profile"
MARTS_RFM = "marts.rfm"
MARTS_FUNNEL = "marts.funnel"
MARTS_CHANNEL_RETURN = "marts.channel_return"
MARTS_SEGMENT_SUMMARY = "marts.segment_summary"

# What a run stamps on rows and what therefore differs between two honest runs; a checksum leaves them out and says so.
RUN_COLUMNS = ("model_version",)


def in_layer(layer: str) -> list[str]:
    """All declared tables of a layer, in order of declaration."""
    names = [value for key, value in globals().items() if key.isupper() and isinstance(value, str)]
    return [name for name in names if name.startswith(layer + ".")]
