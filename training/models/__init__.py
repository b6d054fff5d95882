"""The zoo's towers as OpenCLIP model configurations, and the tokenizer trained for them."""
