from uda.data.names import join_names, normalised_name


def test_normalised_names_ignore_case_spaces_hyphens_and_underscores():
    assert (
        normalised_name("Real World")
        == normalised_name("real_world")
        == normalised_name("RealWorld")
        == normalised_name("Real-World")
    )
    assert normalised_name("Art") != normalised_name("Arts")


def test_lists_of_names_are_cut():
    assert join_names([]) == ""
    assert join_names(["a", "b"], 2) == "a, b"
    assert join_names(["a", "b", "c"], 2) == "a, b and 1 more"
