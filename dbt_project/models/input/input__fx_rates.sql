{{ entity('fx_rates') }}
