"""What a record is, pure: no input or output, no clock. Who stores and publishes it is `candor_node`.

Read the modules in this order: content (what a report says), record_fields (how it is read), records (one
filing of it), gate (whether it may match at all).
"""
