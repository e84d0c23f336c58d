"""A C program for a Cortex-M4, run by qemu; files are read through its debugger."""

import shutil
import subprocess

TOOLS = "arm-none-eabi-gcc", "qemu-system-arm"
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]
_START = """
extern void _start(void);
__attribute__((section(".vectors"), used))
void *const vectors[] = {(void *)0x20400000, (void *)_start};
"""
# Of qemu's board mps2-an386: 4 MB at 0, and 4 MB of RAM.
_PLACES = """
ENTRY(_start)
MEMORY {
  rom (rx) : ORIGIN = 0x0, LENGTH = 4M
  ram (rwx) : ORIGIN = 0x20000000, LENGTH = 4M
}
SECTIONS {
  .vectors : { KEEP(*(.vectors)) } > rom
  .text : {
    KEEP(*(.init)) *(.text*) KEEP(*(.fini)) *(.rodata*)
    __init_array_start = .; KEEP(*(.init_array*)) __init_array_end = .;
    __fini_array_start = .; KEEP(*(.fini_array*)) __fini_array_end = .;
  } > rom
  .ARM.exidx : { __exidx_start = .; *(.ARM.exidx*) __exidx_end = .; } > rom
  .data : { *(.data*) } > ram
  .bss : { __bss_start__ = .; *(.bss*) *(COMMON) __bss_end__ = .; } > ram
  end = .; _end = .; __end__ = .;
}
"""


def run(text, images, folder, flags):
    """Returns what a C file prints of raw images, compiled and run there."""
    (folder / "digit.c").write_text(text)
    (folder / "start.c").write_text(_START)
    (folder / "places.ld").write_text(_PLACES)
    (folder / "images.raw").write_bytes(images.tobytes())
    compiler = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-O2"]
    link = ["digit.o", "start.c", "--specs=rdimon.specs", "-T", "places.ld", "-o", "a"]
    asked = "enable=on,target=native,arg=a,arg=images.raw"
    board = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none"]
    for command in (
        [*compiler, *flags, "-c", "digit.c"],
        [*compiler, *link],
        [*board, "-serial", "none", "-semihosting-config", asked, "-kernel", "a"],
    ):
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
    return found.stdout
