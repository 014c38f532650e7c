{{ entity('campaigns') }}
