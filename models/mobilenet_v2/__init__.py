"""MobileNetV2, 224 x 224, 1000 classes: the network phones are compared by."""
