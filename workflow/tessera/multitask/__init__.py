"""Multi-task source training: sharing, schedule, balancing, regularizer and fusion, put together by `pretrain`."""
