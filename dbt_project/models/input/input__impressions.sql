{{ entity('impressions') }}
