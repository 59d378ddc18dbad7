"""A log as text: what was done to it on its way here is undone.

Whole blocks first, in this order, and all but mails and pastes pass as they are:

    quotedprintable  a mail as it was sent, hard blanks
    folded           lines that a terminal broke at its width
    newestfirst      the newest line first

Then each line: logline takes off what a way of logging puts in front, jsonlog finds the messages in JSON.
"""

MOST_BYTES_A_LINE = 65_536
"""What is beyond is no line of a kernel, and not kept."""
