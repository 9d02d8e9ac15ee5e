"""ROS messages as arrays and back: pure Python, no rclpy."""
