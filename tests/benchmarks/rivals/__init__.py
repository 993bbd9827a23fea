"""What a competent team would write without this project for the same work; nothing in here but `sides` knows the project."""
