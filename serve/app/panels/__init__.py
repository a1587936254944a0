"""What stands on the page, as HTML from the templates beside: the headline, an answer, the model card.

For `serve.app.page`. Pure functions of a card and a prediction; jinja2 escapes whatever comes from an artifact.
"""
