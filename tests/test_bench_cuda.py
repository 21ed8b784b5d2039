"""The table of the CUDA compiler's resources, from a report as ptxas prints it."""

from __future__ import annotations

from benchmarks.cuda_resources import parsed, plain

REPORT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN12_GLOBAL__N_110maxsim_mmaI4HalfLi128ELb1EEEv3Job' for 'sm_90'
ptxas info    : Function properties for _ZN12_GLOBAL__N_110maxsim_mmaI4HalfLi128ELb1EEEv3Job
    8 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 8 bytes cumulative stack size
ptxas info    : Compiling entry function '_ZN12_GLOBAL__N_15widenElPK4HalfPf' for 'sm_90'
ptxas info    : Function properties for _ZN12_GLOBAL__N_15widenElPK4HalfPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 0 barriers
"""


def test_each_kernel_of_a_report_is_a_row() -> None:
    (first, *numbers), (second, *others) = parsed(REPORT)
    assert numbers == [128, 8, 12, 20]
    assert others == [14, 0, 0, 0]
    assert plain(first) == "maxsim_mma<float16, 128, true>"
    assert plain(second) == "widen"
