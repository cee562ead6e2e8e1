from uda.data.names import loose, named


def test_loose_names():
    assert loose("Real World") == loose("real_world") == loose("RealWorld") == loose("Real-World")
    assert loose("Art") != loose("Arts")


def test_lists_of_names_are_cut():
    assert named([]) == ""
    assert named(["a", "b"], 2) == "a, b"
    assert named(["a", "b", "c"], 2) == "a, b and 1 more"
