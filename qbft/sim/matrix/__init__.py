"""The round-timer strategy matrix: which timer decides most often, in fewest rounds, soonest.

45,000 simulated instances of the shipped engine: 6 sizes x 3 latency profiles x 5 timers x 500
seeds (MATRIX, section 2). Every figure must agree with the reference's.
"""
