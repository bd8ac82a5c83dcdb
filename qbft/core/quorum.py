"""How many make a quorum, and how many may be faulty (Moniz, arXiv 2002.03613, section 2)."""


def quorum(nodes: int) -> int:
    """Votes of distinct sources that decide: ceil(2n/3).

    Equal to the paper's floor((n+f)/2)+1 for every n (HARDENING D14): two quorums always share a
    correct validator. In integers, so that no float rounds (REFERENCE rule 2).
    """
    return -(-2 * nodes // 3)


def max_faulty(nodes: int) -> int:
    """Validators that may lie, crash or vanish: floor((n-1)/3) (REFERENCE rule 2)."""
    return (nodes - 1) // 3
