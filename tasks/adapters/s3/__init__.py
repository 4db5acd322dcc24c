"""What is kept in a bucket: objects below one prefix, and what is made of them.

What does not belong here: clients and faults that every service of AWS shares (tasks.adapters.aws).
"""
