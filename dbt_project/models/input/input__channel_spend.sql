{{ entity('channel_spend') }}
