{{ entity('customer_changes') }}
