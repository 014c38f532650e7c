{{ entity('clicks') }}
