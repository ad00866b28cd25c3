"""Training: what every training shares. Knows no task, teacher, balancer or tracker."""
