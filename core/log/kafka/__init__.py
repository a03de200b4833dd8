"""The log on Kafka: any number of processes, each a member of its stages' consumer groups."""
