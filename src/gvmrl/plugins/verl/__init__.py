"""GVM on unmodified verl: plans become one column of verl's data, verl's dumps become statistics.

`batches`, `plans`, `data`, `dumps`, `advantages` and `history` need neither verl nor torch;
`estimators` is what verl loads through its entry point, `trainer` and `worker` are loaded by name.
"""
