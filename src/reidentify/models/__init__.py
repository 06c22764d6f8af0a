"""Networks: a picture, a clip or a pair -> an Output. Knows no data set and no loss."""
