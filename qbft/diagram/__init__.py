"""Space-time diagrams: what nodes said to each other, drawn. Pure, standard library only."""
