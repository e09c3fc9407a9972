"""Replication between replicas: what travels where, who may write what."""
