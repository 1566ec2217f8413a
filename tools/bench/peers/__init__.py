"""The other engines that asr33 is compared with, one file each. Only these files know their libraries."""
