"""What a record is, pure: no input or output, no clock. Who stores and publishes it is `candor_node`.

Read the modules in this order: codes (the closed sets), refusals and refused_text (what may not be reported),
field_types and kinds (the fields of the seven kinds), content (what a report says), record_fields (how it is
read), records (one filing of it), gate (whether it may match at all).
"""
