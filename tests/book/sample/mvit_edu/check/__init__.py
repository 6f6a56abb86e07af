from mvit_edu.check.ch01 import ex_01_1, ex_01_2, ex_01_3

__all__ = ["ex_01_1", "ex_01_2", "ex_01_3"]
