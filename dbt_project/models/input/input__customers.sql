{{ entity('customers') }}
