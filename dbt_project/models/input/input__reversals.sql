{{ entity('reversals') }}
