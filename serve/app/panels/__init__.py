"""What does the page show? The headline, an answer and the model card, as HTML from the templates in `html/`.

For `serve.app.page`. Pure functions of a card and a prediction; jinja2 escapes everything from an artifact.
"""
