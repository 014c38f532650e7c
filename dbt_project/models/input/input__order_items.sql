{{ entity('order_items') }}
