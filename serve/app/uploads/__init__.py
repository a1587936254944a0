"""Which files are accepted from strangers, and for how long are they kept?

For `serve.app`. Imports Gradio's file handling, and the decoder that packing uses.
"""
