"""Signatures: what exactly is signed, in batches, and how anyone checks it offline.

docs/PROTOCOL.md describes every byte. Nothing here knows of gRPC or protobuf.
"""
