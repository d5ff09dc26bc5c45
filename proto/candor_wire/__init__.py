"""The wire: protobuf messages, their translation to values, limits and the error table.

The only package in which protobuf meets a value. What is signed travels as its canonical octets
(docs/protocol.md §4.2): these messages are a frame around them.
"""
